//! The conformance suite on the GPU engine.

mod common;

use common::has_gpu;
use regraft_gpu::{GpuEngine, Options};
use regraft_nn::engine::Engine;
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;

fn open(graph: Graph, image_size: usize, precision: Precision) -> Box<dyn Engine> {
    let options = Options { gpu: 0, precision, checks: true };
    Box::new(GpuEngine::new(graph, image_size, options).expect("images large enough"))
}

regraft_nn::conformance_tests!(open, [in_f32 F32], has_gpu);

/// All cases but `training_goes_on_to_the_bit_in_another_engine`, which trains with the statistics
/// of three images whose last maps are one pixel: gradients there exceed the range of f16, and
/// losses become NaN, which equals nothing.
mod f16 {
    use super::{has_gpu, open};

    regraft_nn::conformance_tests! {
        @cases open [in_f16 F16] has_gpu
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
        the_running_average_follows_its_formula
        values_that_are_not_finite_are_named
        requests_that_do_not_fit_are_refused
        an_update_without_gradients_is_refused
        ranks_agree_with_one_engine
        ranks_share_their_running_statistics
        ranks_end_together_if_one_refuses
    }
}
