"""Workers: what a rank does with the records it pulls, one file a kind."""
