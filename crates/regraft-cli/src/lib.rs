//! The regraft command: fine-tune a pretrained image classifier on your own folder of pictures
