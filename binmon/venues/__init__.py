"""What binmon needs of a venue (`base`), and one folder a venue."""
