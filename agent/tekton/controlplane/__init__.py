"""What the controller decides: answers to ResolutionRequests, runs for CustomRuns, events about failed steps."""
