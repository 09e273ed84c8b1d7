// Extended L2 entries: two bits per subcluster give three states.

extension Lesson {
  static var subclusters: Lesson {
    Lesson(
      "subclusters", "Two bits for each subcluster", Setup(size: 4 << 20, extendedL2: true, backing: 0xbb),
      steps: [
        Step(
          """
          Every cluster of 64k has 32 subclusters of 2k, and its L2 entry 16 bytes: the offset, and a \
          bitmap with two bits per subcluster, alloc and zero. Below lies a backing file full of bb.
          """),
        Step(
          "write -P 0x11 4k 2k", shows: "new cluster",
          """
          A write of 2k takes a host cluster but only sets the alloc bit of subcluster 2. Nothing is \
          copied from the backing file: without subclusters 62k would have been.
          """),
        Step(
          "write -z 8k 4k", shows: "zero 00000000 -> 00000030",
          "Zeroes set the zero bits of subclusters 4 and 5. That costs 8 bytes of metadata and no data."),
        Step(
          "read -v 0 16k",
          """
          All three states in one cluster: bb comes from below (both bits clear), 11 from the host cluster \
          (alloc), zeroes from the zero bits. Both bits set together are invalid.
          """),
      ])
  }
}
