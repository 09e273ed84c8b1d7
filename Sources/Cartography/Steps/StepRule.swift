// The rules of the format behind the steps of an operation: what each is called, why it is made, and what would
// happen if it were made at another time.

package import Qcow

/// Why a step is made.
package struct StepRule: Equatable, Sendable {
  /// What is done, in a word or two.
  package let action: String
  /// The rule as a clause, "a cluster is taken before anything points to it"; empty if there is none to tell.
  package let clause: String
  /// What it is for, and what would happen without it: one or two sentences.
  package let meaning: String

  /// The rule that a reason of the engine stands for.
  package init(_ reason: Reason) {
    (action, clause, meaning) =
      switch reason {
      case .none:
        ("order", "", "What was written before is to be on the disk before what follows is written.")
      case .claim:
        (
          "take", "a cluster is taken before anything points to it",
          "If the power fails now, the cluster has a count and no owner: a leak, which wastes space and loses nothing. "
            + "The other way round one cluster could get two owners, and one of them would lose its data."
        )
      case .release:
        (
          "give back", "a cluster is given back after the last pointer to it is gone",
          "As long as an entry points to the cluster its count must say so; a count that falls first would let "
            + "somebody else take a cluster that is still in use."
        )
      case .retry:
        (
          "take back", "a count is taken back because the search goes on elsewhere",
          "The cluster was taken for something that then found no room in one piece; nothing ever pointed to it."
        )
      case .link:
        (
          "link", "the entry begins to point to its cluster",
          "Now the guest sees the new cluster. Its bytes and its count have to be there before: an entry must never "
            + "point to what is not written yet."
        )
      case .unlink:
        (
          "unlink", "the entry stops pointing to its cluster",
          "Only when nothing points to the cluster any more may its count fall and its place be used again."
        )
      case .newTable:
        (
          "new table", "a table came into being or moved",
          "A table is written completely before anything points to it, so that at no moment half a table is read."
        )
      case .writeBack:
        (
          "write", "changed entries go to the file",
          "Tables are changed in memory and written later. Until then a crash leaves the old entries, which are as "
            + "good as the new ones."
        )
      case .guestData:
        (
          "data", "bytes of the guest",
          "Bytes go to a place that no entry points to yet, or over the old bytes of the same place. The guest may "
            + "see old or new bytes after a crash, as on any disk, until it has asked for a flush."
        )
      case .copyOnWrite:
        (
          "copy", "a new cluster needs the bytes around those of the guest",
          "An entry maps a whole cluster or subcluster. What the guest did not write must read as before, so it is "
            + "copied from where it was."
        )
      case .discard:
        (
          "punch", "space is given back to the host",
          "The host keeps no blocks for the range any more and reads it as zeroes. It comes after the entries are "
            + "on the disk, or a crash would show zeroes where data was."
        )
      case .lazyRefcounts:
        (
          "mark", "refcounts may lag behind until the image is closed",
          "The header says that the image is dirty: counts are to be made anew after a crash, which costs time and "
            + "no data."
        )
      case .create: ("create", "the image is being made", "Header and first tables of a new image.")
      case .resize:
        (
          "resize", "the size of the disk changes",
          "A larger disk has its tables before the header says its size; a smaller one loses its entries before."
        )
      case .snapshot:
        (
          "snapshot", "a snapshot is taken, applied or deleted",
          "The snapshot has a copy of the L1 table and every cluster one user more, before the table of snapshots "
            + "names it."
        )
      case .corrupt:
        (
          "mark", "the image is marked as damaged",
          "Something did not fit; nothing is written any more until the image is repaired."
        )
      case .pin:
        (
          "pin", "the pin is set, removed or given up",
          "A pin says at which distance from its guest address every cluster lies."
        )
      case .move:
        (
          "move", "a copy lies at a better place",
          "The copy is on the disk before the entry points to it, and the old place is given back after that."
        )
      case .repair:
        (
          "repair", "counts and flags follow the references",
          "Entries say what is in use; counts and COPIED flags only repeat it, and are set to what the entries say."
        )
      case .observed:
        (
          "found", "",
          "Another program has written this. The file was looked at before and afterwards, so that its order and its "
            + "reasons are not known."
        )
      }
  }
}
