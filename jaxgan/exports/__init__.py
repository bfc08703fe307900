"""What a trained generator becomes outside of its run: a page about it, and programs of others."""
