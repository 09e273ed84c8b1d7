// The case that the mail of April 2017 began with: two clusters change places.

extension Lesson {
  static var reorder: Lesson {
    Lesson(
      "reorder", "Two clusters change places", Setup(size: 1 << 20, isPreallocated: true),
      steps: [
        Step(
          """
          The image is preallocated: guest cluster 0 is at host 0x50000, cluster 1 directly behind it, and \
          so on. Host = guest + 0x50000 for the whole disk. Can the guest change that?
          """),
        Step(
          "discard 0 128k", shows: "freed",
          """
          The guest discards clusters 0 and 1. QEMU's default frees their host clusters: both entries now \
          read as zeroes and point nowhere, and refcounts 5 and 6 went to 0.
          """),
        Step(
          """
          Next the guest writes cluster 1, at 64k, before cluster 0. Which host cluster will it get? \
          Say it before you go on.
          """),
        Step(
          "write -P 0x22 64k 64k", shows: "L2[1] -> 0x50000",
          "The first free one, 0x50000: the old place of cluster 0. Whoever writes first goes first."),
        Step(
          "write -P 0x11 0 64k", shows: "L2[0] -> 0x60000",
          """
          Cluster 0 gets what is left, 0x60000. No space was lost, and yet the two have changed places: \
          reading the disk in order now jumps forth and back. Any guest with a trim timer does this.
          """),
        Step(
          "undo 3",
          "All three are taken back. Now the same with another policy: discards keep the host cluster."),
        Step("policy keep-mapping", "QEMU has this since 8.1 as discard-no-unref, per start of the machine."),
        Step(
          "discard 0 128k", shows: "kept",
          "The entries read as zeroes and keep their clusters. The bytes still go back to the host."),
        Step(
          "write -P 0x22 64k 64k", shows: "zero flag cleared",
          "Cluster 1 is written first again, and lands where it was."),
        Step(
          "write -P 0x11 0 64k", shows: "zero flag cleared",
          """
          So does cluster 0: the mapping is the one of the start, whatever the order. That is the half that \
          QEMU answers; the lesson 'pin' shows the other.
          """),
      ])
  }
}
