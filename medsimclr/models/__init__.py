"""Networks: encoder, projection head, classifier."""
