// What a discard shows over a backing file, and the rule for the two bits.

extension Lesson {
  static var zeroes: Lesson {
    Lesson(
      "zeroes", "Zeroes hide the backing file, cleared bits show it",
      Setup(size: 4 << 20, extendedL2: true, backing: 0xbb),
      steps: [
        Step(
          """
          The mail asked which bits should mean what. The rule became: alloc 0 zero 0 shows the layer below, \
          alloc 0 zero 1 reads as zeroes. Below lies a file full of bb.
          """),
        Step("write -P 0x11 0 64k", shows: "new cluster", "A cluster of data, all alloc bits set."),
        Step(
          "discard 0 64k", shows: "reads zero",
          """
          The guest's discard frees the cluster and sets all 32 zero bits. It must: with the bits clear the \
          old bb of the backing file would come back.
          """),
        Step("read -P 0 0 64k", "Zeroes, without a host cluster."),
        Step(
          "set discard-subcluster",
          "QEMU ignores discards of parts of clusters. Here they can act on subclusters."),
        Step("write -P 0x22 64k 64k", shows: "new cluster", "Another cluster of data."),
        Step(
          "discard 68k 8k", shows: "zero 00000000 -> 0000003c",
          """
          Four subclusters give up their bytes: alloc bits off, zero bits on, and their part of the host \
          cluster is a hole. The other 28 stay as they are.
          """),
      ])
  }
}
