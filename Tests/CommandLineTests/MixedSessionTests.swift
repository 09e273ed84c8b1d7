// Sessions of all verbs over chains of up to four layers, beside the genuine tools: after every step what the guest
// reads in every layer and in every snapshot is what was written, both checkers agree, and the files have the bytes that
// the genuine tools leave. Where they may differ stands in one list.
//
// QATLAS_SESSIONS changes how many there are, QATLAS_SEED the first one. A session that fails prints its script.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.campaign)) struct MixedSessionTests {
  @Test("all verbs in any order over chains of images")
  func sessions() throws {
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let count = try environmentNumber("QATLAS_SESSIONS", default: 4)
    let stepCount = 8
    var verbs: [MixedStep.Verb: (done: Int, refused: Int, chance: Int)] = [:]
    var (steps, same, chance) = (0, 0, 0)
    var differences: [MixedPurpose: [String]] = [:]
    for seed in first..<(first + count) {
      var session: MixedSession?
      do {
        let made = try MixedSession(seed: seed)
        session = made
        for _ in 0..<stepCount {
          let (verb, isRefused, outcome) = try made.step()
          steps += 1
          verbs[verb, default: (0, 0, 0)].done += 1
          if isRefused { verbs[verb]?.refused += 1 }
          switch outcome {
          case .same: same += 1
          case .chance:
            chance += 1
            verbs[verb]?.chance += 1
          case .differs(let purpose):
            differences[purpose, default: []].append("\(seed): \(made.script.last ?? "")")
          }
        }
      } catch {
        Issue.record(
          "seed \(seed): \(error)\nThe session:\n\(session?.script.joined(separator: "\n") ?? "none")")
      }
    }
    let told = verbs.sorted { $0.key.rawValue < $1.key.rawValue }.map { verb, counts in
      "\(verb) \(counts.done) (\(counts.refused) refused, \(counts.chance) by chance)"
    }
    print(
      "sessions: \(count), steps: \(steps), byte-identical \(same) of \(steps - chance); \(chance) by chance")
    print("  " + told.joined(separator: ", "))
    for purpose in MixedPurpose.allCases {
      guard let cases = differences[purpose] else { continue }
      print("  \(cases.count) differ on purpose: \(purpose.rawValue). The first: \(cases[0])")
    }
    #expect(steps > 0 && same > steps / 2)
  }
}
