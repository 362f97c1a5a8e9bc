"""Message buses by which nodes are told and report: Kafka and Firestore, each over a library of an extra."""
