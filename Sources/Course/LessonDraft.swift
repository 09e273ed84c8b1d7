// The file that somebody begins with who writes a lesson: all parts of one, small, and true as it stands.

/// A first lesson to be changed into one's own.
package enum LessonDraft {
  /// A file for a lesson of that name.
  package static func text(_ name: String) -> String {
    """
    # The format: Tests/Lessons/FORMAT.md. What is proved: qatlas lesson --verify \(name) --lessons .
    lesson \(name)
    title A title for the list
    goal Say what a learner can do afterwards.
    minutes 3
    # The files before the first step, in words of qemu-img and qemu-io. The explored one is called disk.
    image
      img create -q -f qcow2 disk 1M
    # What most get wrong; shown at the end.
    trap That one sector costs one sector.

    # Values in braces are asked of the image when the text is shown, so that no number can be wrong.
    step The empty image
    show screen=explorer focus=host zoom=cluster at=host:0
    say The file is {length} bytes long and holds nothing of the guest yet.
    fact length = 196616
      l2[0] = 0000000000000000

    # The question comes before the operation, and its answer is a query: the image itself says what is right.
    step The first write
    show screen=explorer focus=host at=host:0
    say The guest is going to write 4K at 0.
    ask number How many bytes long will the file be?
      hint Which clusters are new?
      hint A table and a cluster of data, 64K each.
      hint Clusters 0 to 3 are used; the new ones are 4 and 5.
      slip 200712: That is the 4K alone. The table and the rest of the cluster count as well.
      answer length = 393216
    do write -P 0x11 0 4k
    fact l2[0] = 8000000000050000
      read 0 4k = 0x11
      check = clean
    why The entry is {l2[0]}: the data is at {l2[0].host}, and the file is {length} bytes long.

    # The learner works freely until every 'reach' holds; the solution is what --verify does.
    exercise Let guest cluster 1 read zeroes without a host cluster of its own.
      hint What does an entry say of zeroes?
      hint The lowest bit of an entry is the zero flag.
      hint A write of zeroes sets it: write -z.
      reach type[1] = zero-plain
      reach check = clean
    solution write -z 64k 64k

    """
  }
}
