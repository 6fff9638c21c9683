"""Everything that goes over HTTP: questions to the arms, answers to the judge."""
