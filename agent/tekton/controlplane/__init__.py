"""The decisions of the controller: answers to ResolutionRequests, runs for CustomRuns, events about failed steps."""
