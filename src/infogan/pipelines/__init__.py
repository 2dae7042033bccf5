"""Generic stages; ``infogan.pipeline_registry`` makes an instance of each for every dataset."""
