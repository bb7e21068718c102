//! Models of the runtime's protocols. They mirror the code step by step; the README of `src/runtime` has the numbers.
