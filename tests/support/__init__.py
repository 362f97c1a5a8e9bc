"""What several tests share: nodes, repositories, stores and documents to try things on."""
