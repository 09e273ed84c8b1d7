// The words of `qatlas serve`.

import Cartography
import Live

enum ServeText {
  static func line(_ event: NbdServer.Event) -> String {
    switch event {
    case .came(let number): "client \(number) came\n"
    case .went(let number, let reason): "client \(number) left\(reason.map { ": \($0)" } ?? "")\n"
    }
  }

  static func counts(_ counts: RequestCounts) -> String {
    """
    requests \(counts.requests): \(counts.reads) reads (\(Notation.human(counts.bytesRead))), \
    \(counts.writes) writes (\(Notation.human(counts.bytesWritten))), \(counts.zeroWrites) zero-writes, \
    \(counts.discards) discards, \(counts.flushes) flushes, \(counts.statusQueries) questions for the state; \
    \(counts.failures) failed

    """
  }
}
