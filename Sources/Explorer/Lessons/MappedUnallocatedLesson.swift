// A cluster can be mapped while nothing of it is allocated: preallocation over a backing file.

extension Lesson {
  static var mappedUnallocated: Lesson {
    Lesson(
      "mapped", "Mapped, and yet unallocated",
      Setup(size: 1 << 20, extendedL2: true, isPreallocated: true, backing: 0xbb),
      steps: [
        Step(
          """
          Every cluster of this overlay has a host cluster already, at guest + one shift, and both bits of \
          all its subclusters are clear: the place is reserved, the backing file still shows.
          """),
        Step(
          "read -P 0xbb 0 1M", "The disk reads as the backing file although every cluster is mapped."),
        Step(
          "write -P 0x22 512k 4k", shows: "alloc 00000000 -> 00000003",
          """
          A write sets bits and lands in the reserved place: no allocation, no refcount, no other entry. \
          The mail asked whether this needs a feature bit of its own; it came with subclusters.
          """),
        Step(
          "write -P 0x11 0 4k", shows: "alloc 00000000 -> 00000003",
          """
          In any order, every write has its place. A standard L2 entry cannot say this, so preallocation \
          over a backing file needs extended L2 entries.
          """),
      ])
  }
}
