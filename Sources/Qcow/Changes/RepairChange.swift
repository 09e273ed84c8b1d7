// Repairing as a verb: refcounts, COPIED flags and the marks in the header are set right, leaks are given back.
// Other damage is named and left alone, and so is what may be the last copy of somebody's data.

import QcowFormat
package import Storage

/// Brings refcounts and COPIED flags in line with the references.
package struct Repair: Change, Equatable {
  /// What is set right.
  package let scope: RepairScope
  /// Leaked clusters that hold data are given back, and the data with them.
  package let dropsLeaks: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "repair",
    options: [
      .init(
        RepairScope.leaks.rawValue, "give leaked clusters back and nothing else",
        sentence: "Give leaked clusters back and nothing else."),
      .init(
        RepairScope.all.rawValue, "also refcounts, flags and the snapshot table, as without a word",
        sentence: "Set refcounts, flags and the snapshot table right as well."),
      .init(
        "--drop-leaks", "give leaked clusters back although they hold data",
        sentence: "Give leaked clusters back although they hold data, which is then lost."),
    ], hint: "repair",
    help: "set refcounts and COPIED flags right, as the references say; other damage is named and left alone",
    mendsReadOnly: true, mendsCounts: true)

  package init(_ scope: RepairScope = .all, dropsLeaks: Bool = false) {
    self.scope = scope
    self.dropsLeaks = dropsLeaks
  }

  /// Takes the words that were given.
  /// - Throws: `.option` for two scopes.
  package init(_ values: ChangeValues) throws(ImageError) {
    let scopes = RepairScope.allCases.filter { values.flags.contains($0.rawValue) }
    guard scopes.count < 2 else { throw ImageError(.option, "a repair is of leaks or of all") }
    self.init(scopes.first ?? .all, dropsLeaks: values.flags.contains("--drop-leaks"))
  }

  package var arguments: [String] {
    (scope == .all ? [] : [scope.rawValue]) + (dropsLeaks ? ["--drop-leaks"] : [])
  }

  /// An image that was not closed cleanly is only read because it needs this.
  package func refusal(of image: Image) -> String? {
    guard image.options.writable, image.storage.isWritable else {
      return "this image is only read: it is open read-only"
    }
    return image.isWritable || image.header.incompatible.contains(.dirty) ? nil : ChangeWords.readOnly(image)
  }

  /// The repair of the image in a file, as the command line makes it. `open` opens the image for what only an
  /// open one can do, `report` takes what is found and done; with `namesOwners` findings come with owners.
  package func begin(
    on storage: any Storage, namesOwners: Bool = false,
    open: @escaping (SnapshotTable?) throws(ImageError) -> Image,
    report: @escaping (RepairStep) -> Void
  ) -> ScopedRepair {
    ScopedRepair(
      storage, scope, keepsData: !dropsLeaks, namesOwners: namesOwners, open: open, report: report)
  }

  package func run(on image: Image) throws(ImageError) {
    // What the bitmaps know is in the file before the image is read again; else they would stay in use there.
    try image.storeBitmaps()
    try image.flush()
    let repair = begin(
      on: image.storage,
      open: { table throws(ImageError) in
        try image.reload(snapshots: table)
        return image
      }, report: { _ in })
    let result = try repair.run()
    try image.reload()
    if let failure = result.failure {
      throw ImageError(
        .corrupt,
        "the repair did not come to its end: \(failure.detail ?? FileStorage.reason(failure.error))",
        at: .header)
    }
    guard result.corruptions > 0 || repair.kept != nil else { return }
    var left: [String] = []
    if result.corruptions > 0 {
      left.append("\(counted(result.corruptions, "error")) left, which no repair mends")
    }
    if let kept = repair.kept {
      left.append(kept.description + "; --drop-leaks gives \(worded(kept.clusters, "it", "them")) back")
    }
    image.report?(left.joined(separator: ". "))
  }
}
