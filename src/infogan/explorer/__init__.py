"""The explorer: one page, on this machine only, to see what the codes of a trained model do."""
