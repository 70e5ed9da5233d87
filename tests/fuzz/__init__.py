"""Mutated inputs through every way in: only the documented error comes out, in bounded time and memory.

``corpus/`` holds what is mutated, ``seeds.txt`` the seeds; both are kept, so a run repeats itself exactly. An
input that once brought something down goes into the corpus.
"""
