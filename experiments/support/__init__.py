"""Which networks the compiler reads, whether it reads them exactly, and whether they train."""
