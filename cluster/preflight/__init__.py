"""What is looked at before work begins: one machine, or every node of a Ray cluster (`tandem doctor`)."""
