//! Every family of architectures goes through a whole run: from scratch, and as the source of the
//! next one.

use crate::workspace::Workspace;

#[test]
fn every_family_trains_from_scratch_and_is_grafted() {
    for (model, stage) in [
        ("efficientnet_b0", "blocks.5"),
        ("mobilenet_v3_large", "blocks.4"),
        ("mobilenetv4_conv_small", "blocks.2"),
        ("resnet50d", "layer3"),
        ("regnety_004", "s3"),
        ("vit_tiny_patch16_224", "blocks.8"),
        ("convnext_tiny", "stages.2"),
    ] {
        let workspace = Workspace::with_photos();
        // So deep a network of random weights has huge gradients on small batches, in PyTorch too.
        let scratch = "--weights none --image-size 64 --epochs 1 --batch-size 10 --lr 1e-7";
        workspace
            .regraft(&format!("train photos --model {model} {scratch} --output first"))
            .succeeded();
        assert_eq!(
            workspace.regraft("inspect first --json").succeeded().json()["architecture"],
            model
        );
        // A head fitted to the backbone's features, then layers above a stage: what is frozen is
        // the source's to the bit.
        workspace.regraft("train photos --weights first --output fitted").succeeded();
        let flags =
            format!("--head new --epochs 1 --batch-size 4 --lr 1e-6 --freeze through={stage}");
        workspace
            .regraft(&format!("train photos --weights first {flags} --output second"))
            .succeeded();
        let proof = &workspace.json("second/summary.json")["frozen"];
        assert!(proof["tensors"].as_u64() > Some(10), "{model}: {proof}");
        workspace.regraft("evaluate second photos/test --precision bf16").succeeded();
    }
}

/// A transformer's position embeddings follow the image size, and the run says so.
#[test]
fn position_embeddings_are_interpolated_to_another_image_size() {
    let workspace = Workspace::with_photos();
    let model = "--model vit_tiny_patch16_224 --weights none --image-size 64";
    let scratch = "--epochs 1 --batch-size 10 --lr 1e-7 --output first";
    workspace.regraft(&format!("train photos {model} {scratch}")).succeeded();
    let output = workspace
        .regraft("train photos --weights first --image-size 96 --freeze backbone --output second")
        .succeeded();
    let note = "the position embeddings of 4 x 4 patches are interpolated to 6 x 6";
    assert!(output.stdout.contains(note), "{}", output.stdout);
    workspace.regraft("evaluate second photos/test").succeeded();
    assert_eq!(workspace.json("second/summary.json")["image_size"], 96);
}
