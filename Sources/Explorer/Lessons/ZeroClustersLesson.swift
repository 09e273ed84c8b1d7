// Zero-writes keep the mapping, discards do not: preallocated zero clusters.

extension Lesson {
  static var zeroClusters: Lesson {
    Lesson(
      "zero-clusters", "Zero clusters that keep a host cluster", Setup(size: 1 << 20, isPreallocated: true),
      steps: [
        Step("A cluster can read as zeroes and still have its host cluster: the zero flag beside an offset."),
        Step(
          "write -z 0 64k", shows: "kept",
          "A zero-write sets the flag and keeps the cluster. A later write finds its place."),
        Step(
          "discard 0 64k", shows: "freed",
          """
          In 2017 a discard left such clusters alone; the mail calls that a bug. Now it frees them like \
          others: the entry has the flag and no offset.
          """),
        Step("write -z -u 64k 64k", shows: "freed", "So does a zero-write that may unmap."),
        Step(
          "write -P 0x33 64k 64k", shows: "L2[1] -> 0x50000",
          "And the next write goes to the first free place, which was the one of cluster 0."),
      ])
  }
}
