// The answers about files outside of the image's folder, kept while the explorer runs: opening the image
// again must neither ask over the picture nor forget what was answered.

import Qcow
import Storage
import Synchronization

final class RememberedTrust: Trust {
  private let trust: UserTrust
  private let answers = Mutex<[[UInt8]: Bool]>([:])

  init(_ trust: UserTrust) { self.trust = trust }

  func admits(_ file: LayerPlace, namedBy image: LayerPlace) -> Bool {
    let key = image.path + [0] + file.path
    if let answer = answers.withLock({ $0[key] }) { return answer }
    let answer = trust.admits(file, namedBy: image)
    answers.withLock { $0[key] = answer }
    return answer
  }
}
