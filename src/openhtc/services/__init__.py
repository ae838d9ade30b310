"""What happens: each service decides, the layers below store, move and send."""
