"""What the pack needs from ComfyUI, each thing in one place."""
