"""Any value that a stranger may send, and some that mean something."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["VALUES"]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["ann", "*", "agent", "breaker", "019abb2f-6c2a-7b10-8e55-0d9a7c4f1e02"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
