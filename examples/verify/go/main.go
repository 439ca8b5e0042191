// Who is calling? ISSUER=https://id.example.com go run . TOKEN prints the user's id, or says why not.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

func verify(ctx context.Context, verifier *oidc.IDTokenVerifier, token string) (string, error) {
	checked, err := verifier.Verify(ctx, token)
	if err != nil {
		return "", err
	}
	// The library is made for ID tokens, whose type is another.
	signed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || signed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType] != "at+jwt" || checked.Subject == "" {
		return "", errors.New("not an access token")
	}
	return checked.Subject, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: verify TOKEN")
	}
	ctx := context.Background()
	issuer, err := oidc.NewProvider(ctx, os.Getenv("ISSUER")) // finds the keys, and asks again when a token names a new one
	if err != nil {
		log.Fatal(err)
	}
	verifier := issuer.Verifier(&oidc.Config{ClientID: "phonepass", SupportedSigningAlgs: []string{oidc.ES256}})
	userID, err := verify(ctx, verifier, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(userID)
}
