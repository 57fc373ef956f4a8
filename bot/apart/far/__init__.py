"""RPC servers of llama.cpp, reached from a child that has no network."""
