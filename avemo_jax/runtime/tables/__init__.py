"""Tables that any program wrote: texts of many forms and Parquet, read in one place."""

from avemo_jax.runtime.tables.parquet import ParquetTable
from avemo_jax.runtime.tables.table import Table, header_of, read_table, vectors_of

__all__ = ["ParquetTable", "Table", "header_of", "read_table", "vectors_of"]
