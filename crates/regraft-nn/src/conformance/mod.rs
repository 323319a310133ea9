//! Tests that every engine must pass; an engine's crate runs them on itself.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes a test of each case. They compare the
//! engine's arithmetic with plain loops in f64 and with itself. How close it is to PyTorch is left
//! to the engine's other tests.

mod arithmetic;
mod bench;
mod inputs;
mod learning;
mod ranks;
mod requests;
mod state;
mod steps;

pub use arithmetic::*;
pub use bench::Bench;
pub use inputs::*;
pub use learning::*;
pub use ranks::*;
pub use requests::*;
pub use state::*;
pub use steps::*;

/// Makes a test of each case. Takes a function that opens an engine: `fn(Graph, usize, Precision)
/// -> Box<dyn Engine>`, with the graph, the side of its images in pixels, and the type of the
/// feature maps' elements.
///
/// A list of precisions may follow in brackets, each with the name of its tests, and then a
/// function that says whether this machine has the device that the engine needs:
/// `conformance_tests!(open, [in_f32 F32], has_device)`. Without a device, the tests pass. This
/// form leaves out the case of several ranks with the statistics of the whole batch.
#[macro_export]
macro_rules! conformance_tests {
    ($open:ident) => {
        $crate::conformance_tests!($open, [in_f32 F32, in_bf16 Bf16], always);
        $crate::conformance_tests! {
            @cases $open [in_f32 F32, in_bf16 Bf16] always
            ranks_with_statistics_of_the_whole_batch_agree_with_one_engine
        }

        fn always() -> bool {
            true
        }
    };
    ($open:ident, $precisions:tt, $has_device:ident) => {
        $crate::conformance_tests! {
            @cases $open $precisions $has_device
            gradients_are_the_slopes_of_the_loss
            losses_are_those_of_their_formulas
            weights_of_images_scale_their_gradients
            parts_of_a_step_add_up
            optimisers_move_as_their_formulas_say
            every_layer_has_its_rate_and_the_gradient_its_scale
            steps_can_be_fetched_later
            the_last_part_of_a_step_asks_for_the_update
            only_a_long_gradient_is_clipped
            no_update_is_made_of_what_is_not_finite
            frozen_layers_stay_to_the_bit
            a_last_batch_of_one_image_trains
            random_draws_depend_on_the_place_alone
            an_image_does_not_depend_on_its_batch
            features_are_the_heads_input
            images_of_odd_sizes_train
            pixels_are_normalised_and_mixed_as_they_load
            tensors_come_back_as_they_were_given
            training_goes_on_to_the_bit_in_another_engine
            the_running_average_follows_its_formula
            values_that_are_not_finite_are_named
            requests_that_do_not_fit_are_refused
            an_update_without_gradients_is_refused
            ranks_agree_with_one_engine
            ranks_share_their_running_statistics
            ranks_end_together_if_one_refuses
        }
    };
    (@cases $open:ident $precisions:tt $has_device:ident $($case:ident)+) => {
        $(
            mod $case {
                $crate::conformance_tests! { @case $open $precisions $has_device $case }
            }
        )+
    };
    (@case $open:ident [$($test:ident $precision:ident),+] $has_device:ident $case:ident) => {
        $(
            #[test]
            fn $test() {
                if super::$has_device() {
                    $crate::conformance::$case(&$crate::conformance::Bench::new(&super::$open,
                        $crate::precision::Precision::$precision));
                }
            }
        )+
    };
}
