"""What official trees and users' own files hold: videos, crops, labels, splits."""
