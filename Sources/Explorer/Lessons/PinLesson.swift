// The mapping as a property of the image: the pin, and what a stranger does to it.

extension Lesson {
  static var pin: Lesson {
    Lesson(
      "pin", "A mapping that nobody reorders", Setup(size: 1 << 20, isPreallocated: true),
      steps: [
        Step(
          """
          keep-mapping lasts as long as everybody asks for it. The mail wanted a property of the image. A \
          pin records the one shift in a header extension of its own; other programs keep and ignore it.
          """),
        Step(
          "pin", shows: "header: pinned",
          "Every cluster was looked at, and is at guest + 0x50000. The title says pinned from now on."),
        Step("discard 0 128k", shows: "kept", "Under the pin discards keep their clusters."),
        Step(
          "policy default",
          "Now let somebody write who does not honour the pin, as another program would."),
        Step(
          "discard 0 128k", shows: "autoclear bit cleared",
          "This stranger frees what the pin kept: first of all it clears the autoclear bit of the pin."),
        Step(
          "write -P 0x22 64k 64k", shows: "L2[1] -> 0x50000", "And it puts cluster 1 where cluster 0 belongs."
        ),
        Step(
          "discard 64k 64k", shows: "freed", "It also discards cluster 1 again. Both are nowhere now."),
        Step(
          "policy pinned",
          "The pin in force again. The title says unverified: somebody else has written since."),
        Step(
          "write -P 0x22 64k 64k", shows: "L2[1] -> 0x60000",
          """
          Cluster 1 goes home to 0x60000, although 0x50000 was free and comes first: that is the place of \
          cluster 0, and nobody else gets it.
          """),
        Step("write -P 0x11 0 64k", shows: "L2[0] -> 0x50000", "So does cluster 0."),
        Step(
          "pin", shows: "autoclear bit set",
          """
          A look at every cluster: all are at their places, and the bit is set again. 'qatlas pin' does the \
          same for a file, and lists the clusters that are elsewhere.
          """),
      ])
  }
}
