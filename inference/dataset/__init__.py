"""Data that networks are trained and measured on: public layout, phantoms, folds, tables, and the prepared cache."""
