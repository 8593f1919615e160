package tuneyard

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"tuneyard.example/go/tuneyardv1"
)

func answers() (*tuneyardv1.GetServerInfoResponse, error) {
	return &tuneyardv1.GetServerInfoResponse{}, nil
}

func TestEveryPublicServiceIsInTheClient(t *testing.T) {
	held := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Client]()) {
		held[field.Type.Name()] = field.Type
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("tuneyard.v1", func(file protoreflect.FileDescriptor) bool {
		for index := range file.Services().Len() {
			service := file.Services().Get(index)
			if service.Name() == "TrainerService" {
				continue // Between the gateway and its trainers.
			}
			generated, ok := held[string(service.Name())+"Client"]
			if !ok {
				t.Errorf("%s is not in Client", service.Name())
				continue
			}
			for index := range service.Methods().Len() {
				name := string(service.Methods().Get(index).Name())
				if _, ok := generated.MethodByName(name); !ok {
					t.Errorf("%s.%s is missing", service.Name(), name)
				}
			}
		}
		return true
	})
}

func TestATokenComesWithEveryCallAndStream(t *testing.T) {
	fake := &gateway{info: answers, watches: []watchHandler{sends(event(1), ended(2))}}
	client := serve(t, fake, WithToken("secret"))
	if _, err := client.System.GetServerInfo(t.Context(), &tuneyardv1.GetServerInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := sequences(t, client, 0); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fake.tokens, []string{"Bearer secret", "Bearer secret"}) {
		t.Errorf("got %q", fake.tokens)
	}
}

func TestATokenThatNoCallCanCarryIsRefusedAtOnce(t *testing.T) {
	var failed *Error
	if _, err := Dial(DefaultServer, WithToken("naïve\n")); !errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
}

func TestATLSConfigEncrypts(t *testing.T) {
	// Its certificate is for example.com and signed by itself.
	lent := httptest.NewTLSServer(nil)
	defer lent.Close()
	roots := x509.NewCertPool()
	roots.AddCert(lent.Certificate())
	server := grpc.Creds(credentials.NewServerTLSFromCert(&lent.TLS.Certificates[0]))
	trusting := WithTLS(&tls.Config{RootCAs: roots, ServerName: "example.com"})
	client := serveWith(t, &gateway{info: answers}, []grpc.ServerOption{server}, trusting, WithToken("secret"))
	if _, err := client.System.GetServerInfo(t.Context(), &tuneyardv1.GetServerInfoRequest{}); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerMayBeLargerThanGRPCsOwnBound(t *testing.T) {
	long := strings.Repeat("x", 5<<20)
	client := serve(t, &gateway{info: func() (*tuneyardv1.GetServerInfoResponse, error) {
		return &tuneyardv1.GetServerInfoResponse{Version: long}, nil
	}})
	got, err := client.System.GetServerInfo(t.Context(), &tuneyardv1.GetServerInfoRequest{})
	if err != nil || got.GetVersion() != long {
		t.Errorf("got %d bytes, %v", len(got.GetVersion()), err)
	}
}
