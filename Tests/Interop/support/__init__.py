"""What the end-to-end tests need around the gateway: its process, a Twilio, a client's endpoint, and waiting."""
