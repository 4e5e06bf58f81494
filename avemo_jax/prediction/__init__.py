"""Any video, image or folder of them to a table of every face in every frame."""
