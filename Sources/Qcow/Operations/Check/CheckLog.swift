// Where the findings of a check go: they are counted, added up to what a repair would do, and passed on in
// the order in which they are made, or kept until the owners of their clusters are known.

import QcowFormat

/// Takes the findings of one check.
final class CheckLog {
  private(set) var corruptions: UInt64 = 0
  private(set) var leaks: UInt64 = 0
  private(set) var checkErrors: UInt64 = 0
  /// What the findings add up to.
  var survey = DamageSurvey()

  private let report: (CheckFinding) -> Void
  /// Sets right what can be set right while the references are counted; nil for a check that only looks.
  private let mender: ((CheckFinding) -> Bool)?
  private let work: CheckWork
  /// Wrong refcounts are kept until ``tellWaiting(owners:_:)``.
  private let waitsForOwners: Bool
  private var waiting: [CheckFinding] = []
  private static let maximumWaiting = 1 << 16
  private var hasSaidUnusableBlock = false

  init(
    _ work: CheckWork, waitsForOwners: Bool, mender: ((CheckFinding) -> Bool)? = nil,
    report: @escaping (CheckFinding) -> Void
  ) {
    self.work = work
    self.mender = mender
    self.waitsForOwners = waitsForOwners
    self.report = report
  }

  /// Throws if so much has been found that the check is given up.
  func tell(_ finding: CheckFinding) throws(CheckStop) {
    count(finding.severity)
    survey.add(finding)
    // Printing is slow; what a damaged image may cause of it is bounded like everything else.
    try work.take(512)
    if case .refcountWrong = finding.kind, waitsForOwners, waiting.count < Self.maximumWaiting {
      waiting.append(finding)
    } else {
      report(finding)
    }
  }

  /// True if a repair has set it right; then it is neither told nor counted here.
  func mend(_ finding: CheckFinding) -> Bool { mender?(finding) ?? false }

  /// Counts what is not told.
  func count(_ severity: CheckFinding.Severity) {
    switch severity {
    case .corruption: corruptions += 1
    case .leak: leaks += 1
    case .checkError: checkErrors += 1
    case .remark: break
    }
  }

  /// Clusters of the findings that wait, in rising order, as far as they have owners.
  var waitingClusters: [HostCluster] {
    waiting.compactMap { finding in
      guard case .refcountWrong(let cluster, _, let references) = finding.kind, references > 0 else {
        return nil
      }
      return HostCluster(cluster)
    }
  }

  /// Passes on what waits, with the owners that were found.
  func tellWaiting(owners: [HostCluster: [CheckOwner]], _ geometry: Geometry) {
    for finding in waiting {
      var finding = finding
      if case .refcountWrong(let cluster, _, _) = finding.kind {
        finding.owners = owners[HostCluster(cluster)] ?? []
      }
      finding.guest = finding.owners.first?.guestRange(geometry)
      report(finding)
    }
    waiting = []
  }

  /// The host's number for a refcount that cannot be read; says once which block is unusable. Throws what
  /// ends the check.
  func explain(_ failure: CheckRefcounts.Failure, _ header: Header) throws(CheckStop) -> Int32 {
    switch failure {
    case .unaligned(let offset, let index):
      if !hasSaidUnusableBlock {
        hasSaidUnusableBlock = true
        try tell(
          CheckFinding(
            .refcountBlockUnusable(offset: offset.value, index: UInt64(index)),
            at: HostOffset(header.refcountTableOffset) + UInt64(index) * 8, .refcountTableEntry(index))
        )
      }
      return CheckStop.ioError.error
    case .stop(let stop):
      // A limit of this program ends the check; what the host cannot read is told and passed.
      guard stop.detail == nil else { throw stop }
      return stop.error
    }
  }
}
