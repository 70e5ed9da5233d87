"""Media on the way in and out of tasks: files described, held against what was promised, cut, joined."""
