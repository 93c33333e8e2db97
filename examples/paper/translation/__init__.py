"""What only translation has (section 5.2, Table 3, Figure 5): beam search, and its BLEU and ECE."""
