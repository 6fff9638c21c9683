"""What a chat template and a tokenizer make of rows that their author may not expect."""
