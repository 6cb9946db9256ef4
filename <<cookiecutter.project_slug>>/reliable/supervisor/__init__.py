"""The processes of a deployment, and the one renderer of the supervisor file that runs them."""
