//! An opened GPU: its queue, its compiled shaders, and its first fault.

use crate::adapter::{self, Gpu};
use crate::error::GpuError;
use crate::shader::{Access, Shader};
use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use wgpu::{ErrorFilter, Features, ShaderRuntimeChecks};

/// A GPU that is open. All engines of a process that use it share it with its compiled shaders.
pub(crate) struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub gpu: Gpu,
    pipelines: Mutex<HashMap<Arc<Shader>, Arc<wgpu::ComputePipeline>>>,
    /// The first thing that went wrong and was not expected.
    fault: Arc<Mutex<Option<String>>>,
    checks: Checks,
}

/// The features that are used if an adapter has them.
const FEATURES: Features = Features::SHADER_F16
    .union(Features::TIMESTAMP_QUERY)
    .union(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// How long a call that was to come is waited for before the device is asked again.
const PATIENCE: Duration = Duration::from_millis(10);

/// Whether shaders check the places that they read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// As WebGPU asks for: a place outside a buffer is another one inside.
    All,
    /// None: 10 to 36 % faster on an H100.
    None,
}

/// A shader that a driver refuses, or a device that stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub String);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Open = HashMap<(usize, bool), Weak<Device>>;

impl Device {
    /// Opens the GPU of a number, or takes it if it is open.
    ///
    /// # Errors
    /// If there is none, or its driver refuses.
    pub fn open(number: usize, checks: Checks) -> Result<Arc<Self>, GpuError> {
        static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);
        let mut open = lock(&OPEN);
        let key = (number, checks == Checks::All);
        if let Some(device) = open.get(&key).and_then(Weak::upgrade)
            && device.check().is_ok()
        {
            return Ok(device);
        }
        let device = Arc::new(Self::new(number, checks)?);
        open.insert(key, Arc::downgrade(&device));
        Ok(device)
    }

    fn new(number: usize, checks: Checks) -> Result<Self, GpuError> {
        let (adapter, gpu) = adapter::find(number)?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("regraft"),
            required_features: adapter.features() & FEATURES,
            // SAFETY: the experiment is the matrix units; shaders give them fragments inside arrays
            // of workgroup memory alone, at places that the tests check with emulated units.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
                GpuError::Device { adapter: gpu.name.clone(), why: error.to_string() }
            })?;
        let fault: Arc<Mutex<Option<String>>> = Arc::default();
        let of_errors = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&of_errors).get_or_insert_with(|| error.to_string());
        }));
        let of_loss = Arc::clone(&fault);
        device.set_device_lost_callback(move |_, why| {
            lock(&of_loss).get_or_insert_with(|| format!("the device was lost: {why}"));
        });
        let pipelines = Mutex::default();
        Ok(Self { device, queue, gpu, pipelines, fault, checks })
    }

    /// Refuses to continue after a fault.
    pub fn check(&self) -> Result<(), Fault> {
        lock(&self.fault).clone().map_or(Ok(()), |why| Err(Fault(why)))
    }

    /// Waits until the device has done a submission, or all of them.
    fn wait(&self, submission: Option<&wgpu::SubmissionIndex>) -> Result<(), Fault> {
        let submission_index = submission.cloned();
        let done = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
        self.check()?;
        done.map(drop).map_err(|error| Fault(error.to_string()))
    }

    /// Waits for the words of a buffer that the host can read.
    pub fn map(
        &self,
        staging: &wgpu::Buffer,
        submission: Option<wgpu::SubmissionIndex>,
    ) -> Result<Vec<u32>, Fault> {
        let (sender, receiver) = channel();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| {
            // Nobody waits any more if the device stopped meanwhile.
            let _ = sender.send(outcome);
        });
        // Another engine's wait may be the one that calls back, shortly after this one returns.
        loop {
            self.wait(submission.as_ref())?;
            match receiver.recv_timeout(PATIENCE) {
                Ok(Ok(())) => break,
                Ok(Err(error)) => return Err(Fault(error.to_string())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Fault("the device gives no values back".to_owned()));
                }
            }
        }
        let view = staging.get_mapped_range(..).map_err(|error| Fault(error.to_string()))?;
        let words = view
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        drop(view);
        staging.unmap();
        Ok(words)
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// If the device has no memory for it.
    pub fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer, Fault> {
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let outer = self.device.push_error_scope(ErrorFilter::Validation);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.next_multiple_of(4).max(4),
            usage,
            mapped_at_creation: false,
        });
        let refused = pollster::block_on(outer.pop());
        let refused = pollster::block_on(scope.pop()).or(refused);
        refused.map_or(Ok(buffer), |error| Err(Fault(error.to_string())))
    }

    /// Whether there is memory for that many bytes, in allocations of `most` bytes.
    pub fn has_room(&self, bytes: u64, most: u64) -> bool {
        let pieces = (0..bytes.div_ceil(most)).map(|piece| (bytes - piece * most).min(most));
        let tried: Result<Vec<_>, Fault> =
            pieces.map(|bytes| self.buffer(bytes, wgpu::BufferUsages::STORAGE)).collect();
        let has_room = tried.is_ok();
        tried.into_iter().flatten().for_each(|buffer| buffer.destroy());
        has_room
    }

    /// The compiled shaders, in the order of those given. Missing shaders are compiled by
    /// as many threads as there are cores.
    pub fn pipelines(
        &self,
        shaders: &[&Arc<Shader>],
    ) -> Result<Vec<Arc<wgpu::ComputePipeline>>, Fault> {
        let mut missing: Vec<&Arc<Shader>> = Vec::new();
        {
            let known = lock(&self.pipelines);
            for &shader in shaders {
                if !known.contains_key(shader) && !missing.contains(&shader) {
                    missing.push(shader);
                }
            }
        }
        let waiting = Mutex::new(missing);
        let compile = || -> Result<(), Fault> {
            loop {
                let Some(shader) = lock(&waiting).pop() else { return Ok(()) };
                let pipeline = Arc::new(self.compile(shader)?);
                lock(&self.pipelines).insert(Arc::clone(shader), pipeline);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(lock(&waiting).len());
        if threads <= 1 {
            compile()?;
        } else {
            let outcomes: Vec<Result<(), Fault>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(compile)).collect();
                threads
                    .into_iter()
                    .map(|thread| {
                        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    })
                    .collect()
            });
            outcomes.into_iter().collect::<Result<(), Fault>>()?;
        }
        let known = lock(&self.pipelines);
        Ok(shaders.iter().map(|&shader| Arc::clone(&known[shader])).collect())
    }

    fn compile(&self, shader: &Shader) -> Result<wgpu::ComputePipeline, Fault> {
        let outer = self.device.push_error_scope(ErrorFilter::Validation);
        let inner = self.device.push_error_scope(ErrorFilter::Internal);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&shader.name),
            source: wgpu::ShaderSource::Wgsl(shader.text.as_str().into()),
        };
        let module = match self.checks {
            Checks::All => self.device.create_shader_module(descriptor),
            // SAFETY: every shader is one of this crate's, which reads and writes its buffers only
            // at places that follow from the sizes given with them, and whose loops end: the tests
            // run all of them with checks and without, and compare the results.
            Checks::None => unsafe {
                self.device
                    .create_shader_module_trusted(descriptor, ShaderRuntimeChecks::unchecked())
            },
        };
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&self.layout(shader))],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&shader.name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Shaders write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        let refused = pollster::block_on(inner.pop());
        let refused = pollster::block_on(outer.pop()).or(refused);
        match refused {
            None => Ok(pipeline),
            Some(error) => Err(Fault(format!("the shader {} is refused: {error}", shader.name))),
        }
    }

    fn layout(&self, shader: &Shader) -> wgpu::BindGroupLayout {
        let entry = |binding: usize, kind: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: kind,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        entries.extend(shader.binds.iter().enumerate().map(|(number, bind)| {
            let read_only = bind.access == Access::Read;
            entry(number + 1, wgpu::BufferBindingType::Storage { read_only })
        }));
        self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        })
    }
}
