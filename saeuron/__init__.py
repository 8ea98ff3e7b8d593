"""Concepts of a Stable Diffusion UNet in sparse autoencoders: found, removed while sampling, and turned back. It needs
torch and no ComfyUI; what draws without ComfyUI is in `saeuron.reference`."""
