"""Sora, a WebRTC SFU whose nodes form a cluster with majority quorum."""
