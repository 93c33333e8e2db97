"""Machine translation (section 5.2, Table 3 and Figure 5): a Transformer, its ECE and its BLEU."""
