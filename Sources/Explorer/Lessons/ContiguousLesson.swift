// All data in one run: what the mail wished for, and what QEMU's preallocation makes of it.

extension Lesson {
  static var contiguous: Lesson {
    Lesson(
      "contiguous", "All data in one run", Setup(size: 1 << 30, isPreallocated: true),
      steps: [
        Step(
          """
          QEMU's preallocation=metadata puts every L2 table in front of the data it maps: tables lie between \
          the data. This image of 1 GiB has contiguous=on: all tables first, then all data.
          """),
        Step(
          "goto host 0", "Header, refcount table, refcount block, L1 table, and both L2 tables: 6 clusters."),
        Step(
          "goto guest 512M",
          """
          The first cluster of the second L2 table: its host offset is guest + 0x60000 like everywhere. A \
          sequential read never meets a table.
          """),
        Step(
          "write -P 0x55 512M 1M",
          "Writes change no table at all: only data is written, in place."),
      ])
  }
}
