// What a check found, in the words of `qemu-img check`, so that scripts can switch over: one line per
// finding, the summary as text or JSON, and its exit code. Places, owners and notes, which the genuine
// tool does not tell, are lines and members of their own.

package import Cartography
package import Qcow
import QcowFormat
import Storage

/// The words and numbers of a check.
package enum CheckText {
  // MARK: Findings

  /// A finding as lines for the error stream. Some of them start with the program's name.
  package static func lines(of finding: CheckFinding, program: String) -> String {
    let kind = finding.kind
    if let text = snapshotTable(kind) { return program + ": " + text + "\n" }
    return (entry(kind) ?? reference(kind) ?? "") + "\n"
  }

  /// What is said of bitmaps that are out of date.
  package static func staleBitmaps(program: String) -> String {
    program + ": warning: a program lacking bitmap support modified this file, "
      + "so all bitmaps are now considered inconsistent\n"
      + "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.\n"
  }

  /// What a repair at opening finds and does, as lines for the error stream.
  package static func lines(of step: RepairStep, program: String) -> String {
    switch step {
    case .staleBitmaps: return staleBitmaps(program: program)
    case .found(let finding): return lines(of: finding, program: program)
    case .rebuilding: return "Rebuilding refcount structure\n"
    case .cannotRebuild: return "ERROR need to rebuild refcount structures\n"
    case .stillBroken: return "ERROR rebuilt refcount structure is still broken\n"
    case .repairing(let finding):
      if let text = cut(finding.kind) { return "Discarding " + text + "\n" }
      let text = lines(of: finding, program: program)
      // The first word says what is done about it.
      return "Repairing" + text.drop { $0 != " " }
    }
  }

  private static func snapshotTable(_ kind: CheckFinding.Kind) -> String? {
    switch kind {
    case .snapshotTableTooLarge(let count):
      return "ERROR snapshot table too large\n"
        + "You can force-remove all \(Int(count) - 65536) overhanging snapshots with qemu-img check -r all"
    case .snapshotTableMisplaced: return "ERROR snapshot table offset invalid"
    case .snapshotTableUnreadable(let error):
      return "ERROR failed to read the snapshot table: Failed to read snapshot table: "
        + FileStorage.reason(error)
    case .snapshotExtraDataTooLarge(let index, _):
      return
        "ERROR failed to read the snapshot table: Too much extra metadata in snapshot table entry \(index)\n"
        + "You can force-remove this extra metadata with qemu-img check -r all"
    case .snapshotTableTooLong(let left):
      return "ERROR failed to read the snapshot table: Snapshot table is too big\n"
        + "You can force-remove all \(left) overhanging snapshots with qemu-img check -r all"
    default: return nil
    }
  }

  /// What a repair cuts off the snapshot table; nil if it does not.
  private static func cut(_ kind: CheckFinding.Kind) -> String? {
    switch kind {
    case .snapshotTableTooLarge(let count): return "\(Int(count) - 65536) overhanging snapshots"
    case .snapshotExtraDataTooLarge(let index, let size):
      return "too much extra metadata in snapshot table entry \(index) (\(size) > 1024)"
    case .snapshotTableTooLong(let left): return "\(left) overhanging snapshots (snapshot table is too big)"
    default: return nil
    }
  }

  private static func entry(_ kind: CheckFinding.Kind) -> String? {
    switch kind {
    case .snapshotIncomplete(let index): return "ERROR snapshot table entry \(index) is incomplete"
    case .snapshotsWithDataFile(let count): return "ERROR \(count) snapshots in image with data file"
    case .snapshotL1Unaligned(let snapshot):
      return "ERROR snapshot \(name(snapshot)) l1_offset=0x\(hex(snapshot.l1TableOffset)): "
        + "L1 table is not cluster aligned; snapshot table entry corrupted"
    case .snapshotL1TooLarge(let snapshot):
      return "ERROR snapshot \(name(snapshot)) l1_size=0x\(hex(UInt64(snapshot.l1Size))): "
        + "L1 table is too large; snapshot table entry corrupted"
    case .l1ReservedBits(let entry): return "ERROR found L1 entry with reserved bits set: \(hex(entry))"
    case .l2TableUnaligned(let offset):
      return "ERROR l2_offset=\(hex(offset)): Table is not cluster aligned; L1 entry corrupted"
    case .l1Unreadable: return "ERROR: I/O error in check_refcounts_l1"
    case .l2Unreadable: return "ERROR: I/O error in check_refcounts_l2"
    case .l2ReservedBits(let entry): return "ERROR found l2 entry with reserved bits set: \(hex(entry))"
    case .compressedCopied(let offset):
      return "ERROR: coffset=0x\(hex(offset)): copied flag must never be set for compressed clusters"
    case .compressedWithDataFile(let index, let entry):
      return "ERROR compressed cluster \(index) with data file, entry=0x\(hex(entry))"
    case .compressedWithBitmap(let index, let entry):
      return
        "ERROR compressed cluster \(index) with non-zero subcluster allocation bitmap, entry=0x\(hex(entry))"
    case .conflictingBitmap(let offset):
      return "ERROR offset=\(hex(offset)): Allocated cluster has corrupted subcluster allocation bitmap"
    case .clusterUnaligned(let offset, let holdsData):
      return
        "ERROR offset=\(hex(offset)): \(holdsData ? "Data" : "Preallocated") cluster is not properly aligned; "
        + "L2 entry corrupted."
    case .bitmapWithoutCluster: return "ERROR: Unallocated cluster has non-zero subcluster allocation map"
    case .copiedWrongL1(let index, let entry, let refcount):
      return "ERROR OFLAG_COPIED L2 cluster: l1_index=\(index) l1_entry=\(hex(entry)) refcount=\(refcount)"
    case .copiedWrongL2(let entry, let refcount):
      return "ERROR OFLAG_COPIED data cluster: l2_entry=\(hex(entry)) refcount=\(refcount)"
    default: return nil
    }
  }

  private static func reference(_ kind: CheckFinding.Kind) -> String? {
    switch kind {
    case .beyondEnd(let offset, let size):
      return "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
        + "offset 0x\(hex(offset)) size 0x\(hex(size))"
    case .tooManyReferences(let offset):
      return "ERROR: overflow cluster offset=0x\(hex(offset))\n"
        + "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy "
        + "if the image cannot be opened for writing"
    case .refcountBlockReservedBits(let index):
      return "ERROR refcount table entry \(index) has reserved bits set"
    case .refcountBlockUnaligned(let index):
      return "ERROR refcount block \(index) is not cluster aligned; refcount table entry corrupted"
    case .refcountBlockOutside(let index): return "ERROR refcount block \(index) is outside image"
    case .refcountBlockShared(let index, let references):
      return "ERROR refcount block \(index) refcount=\(references)"
    case .refcountBlockUnusable(let offset, let index):
      return "qcow2: Image is corrupt: Refblock offset 0x\(hex(offset)) unaligned "
        + "(reftable index: \(index == 0 ? "0" : "0x" + hex(index))); "
        + "further non-fatal corruption events will be suppressed"
    case .refcountUnreadable(let cluster, let error):
      return "Can't get refcount for cluster \(cluster): \(FileStorage.reason(error))"
    case .refcountWrong(let cluster, let refcount, let references):
      return "\(refcount < references ? "ERROR" : "Leaked") cluster \(cluster) refcount=\(refcount) "
        + "reference=\(references)"
    default: return nil
    }
  }

  private static func hex(_ value: UInt64) -> String { String(value, radix: 16) }

  /// ID and name; strings of C, which end with their first zero byte.
  private static func name(_ snapshot: SnapshotEntry) -> String {
    func text(_ raw: String) -> String { Escaping.human(String(raw.prefix { $0 != "\0" })) }
    return "\(text(snapshot.id)) (\(text(snapshot.name)))"
  }

  // MARK: Summary

  /// The summary for people, as printed on standard output.
  package static func human(_ result: CheckResult) -> String {
    var text = ""
    if result.corruptions == 0 && result.leaks == 0 && result.checkErrors == 0 {
      text += "No errors were found on the image.\n"
    }
    if result.corruptions > 0 {
      text +=
        "\n\(result.corruptions) errors were found on the image.\n"
        + "Data may be corrupted, or further writes to the image may corrupt it.\n"
    }
    if result.leaks > 0 {
      text +=
        "\n\(result.leaks) leaked clusters were found on the image.\n"
        + "This means waste of disk space, but no harm to data.\n"
    }
    if result.checkErrors > 0 {
      text += "\n\(result.checkErrors) internal errors have occurred during the check.\n"
    }
    if result.totalClusters > 0 && result.allocatedClusters > 0 {
      func percent(_ part: UInt64, of whole: UInt64) -> String {
        Notation.decimals(Double(part) * 100 / Double(whole), 2) + "%"
      }
      text +=
        "\(result.allocatedClusters)/\(result.totalClusters) = "
        + "\(percent(result.allocatedClusters, of: result.totalClusters)) allocated, "
        + "\(percent(result.fragmentedClusters, of: result.allocatedClusters)) fragmented, "
        + "\(percent(result.compressedClusters, of: result.allocatedClusters)) compressed clusters\n"
    }
    if let end = result.imageEndOffset, end > 0 { text += "Image end offset: \(end)\n" }
    return text
  }

  /// What was set right, before the image is checked again; empty if nothing was.
  package static func repaired(_ result: CheckResult) -> String {
    guard result.corruptionsFixed > 0 || result.leaksFixed > 0 else { return "" }
    return "The following inconsistencies were found and repaired:\n\n"
      + "    \(result.leaksFixed) leaked clusters\n    \(result.corruptionsFixed) corruptions\n\n"
      + "Double checking the fixed image now...\n"
  }

  /// What the genuine tool does not report.
  package struct Details {
    /// Nil if they are told somewhere else.
    var findings: [CheckFinding]?
    /// Findings that are not in the list.
    var more: Int
    var notes: [CheckNote]
    /// The same by what is wrong.
    var groups: DamageGroups

    package init(findings: [CheckFinding]?, more: Int, notes: [CheckNote], groups: DamageGroups) {
      self.findings = findings
      self.groups = groups
      self.more = more
      self.notes = notes
    }
  }

  /// The summary for programs; with `details` also findings and notes, which the genuine tool lacks.
  package static func report(
    _ result: CheckResult, fileName: String, details: Details? = nil
  ) -> [Field] {
    var members: [Field] = []
    func add(_ name: String, _ value: UInt64) {
      if value > 0 { members.append(.init(name, .number(value))) }
    }
    add("image-end-offset", result.imageEndOffset ?? 0)
    add("compressed-clusters", result.compressedClusters)
    add("total-clusters", result.totalClusters)
    add("corruptions", result.corruptions)
    add("corruptions-fixed", result.corruptionsFixed)
    members.append(.init("check-errors", .number(result.checkErrors)))
    add("leaks", result.leaks)
    add("leaks-fixed", result.leaksFixed)
    add("allocated-clusters", result.allocatedClusters)
    members.append(.init("filename", .string(fileName)))
    members.append(.init("format", .string("qcow2")))
    add("fragmented-clusters", result.fragmentedClusters)
    if let details {
      if let findings = details.findings {
        members.append(.init("findings", .array(findings.map(report(of:)))))
      }
      if details.more > 0 { members.append(.init("more-findings", .number(UInt64(details.more)))) }
      members.append(.init("notes", .array(details.notes.map { .string(text(of: $0)) })))
      members.append(.init("groups", DamageText.report(details.groups)))
    }
    return members
  }

  /// 0 sound, 1 not checked to the end, 2 damaged, 3 only leaks.
  package static func exitCode(_ result: CheckResult) -> Int32 {
    if result.failure != nil || result.checkErrors > 0 { return 1 }
    return result.corruptions > 0 ? 2 : result.leaks > 0 ? 3 : 0
  }

  /// Why the check failed; nil if it did not.
  package static func failure(_ result: CheckResult) -> String? {
    if let failure = result.failure {
      return "Check failed: " + FileStorage.reason(failure.error) + (failure.detail.map { "; \($0)" } ?? "")
    }
    return result.checkErrors > 0 ? "Check failed" : nil
  }
}
