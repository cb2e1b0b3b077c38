"""How others reach us: the hub, WebSocket, HTTP and the server that carries them."""
